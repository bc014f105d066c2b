"""The expected texts of the exposition, made from the code: `python -m tests.exporters.rewrite` writes both files."""

from app.exporters.prometheus import worker_text
from tests.exporters.test_prometheus import EXPECTED, EXPECTED_OF_WORKER, some_models, some_numbers, text_of

if __name__ == "__main__":
    EXPECTED.write_text(text_of(some_models(), seldon=True))
    EXPECTED_OF_WORKER.write_text(worker_text(some_numbers()))
