FROM python:3.11-slim

# A number, so that Kubernetes can check `runAsNonRoot`.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/tally --shell /usr/sbin/nologin tally

COPY pyproject.toml README.md /src/
COPY app /src/app
RUN pip install --no-cache-dir /src && rm -rf /src

# Inside a container the loopback default would hide the worker; what is published is the deployment's choice.
ENV TALLY_WEB_HOST=0.0.0.0 \
    TALLY_WEB_PORT=6066 \
    TALLY_DATA_DIR=/var/lib/tally \
    PYTHONUNBUFFERED=1
EXPOSE 6066
WORKDIR /var/lib/tally
USER 10001:10001

# Without a proxy: Docker hands its client's proxy settings to every container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['TALLY_WEB_PORT'] + '/live', timeout=4)"]

ENTRYPOINT ["tally"]
CMD ["worker"]
