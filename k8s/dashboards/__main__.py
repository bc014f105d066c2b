"""Write the dashboards: `python -m k8s.dashboards`."""

from k8s.dashboards.files import FOLDER, files

if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
