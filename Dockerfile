# The Python of both stages. Pin it by digest where you build for production: --build-arg PYTHON=python:3.11-slim@sha256:…
ARG PYTHON=python:3.11-slim-bookworm

# Packages first, in a layer of their own that changes only with .requirements.lock; each is checked against its hash.
FROM ${PYTHON} AS build
RUN python -m venv /opt/tally
COPY .requirements.lock /src/
RUN /opt/tally/bin/pip install --no-cache-dir --require-hashes --no-deps --requirement /src/.requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY app /src/app
RUN /opt/tally/bin/pip install --no-cache-dir --no-deps --no-build-isolation /src

FROM ${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Tally" \
    org.opencontainers.image.description="Tells people who run machine-learning models whether their models are still right" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# A number, so that Kubernetes can check `runAsNonRoot`.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/tally --shell /usr/sbin/nologin tally
COPY --from=build /opt/tally /opt/tally

# Inside a container the loopback default would hide the worker; what is published is the deployment's choice.
# The root may be read-only: all that is written is in /var/lib/tally and /tmp.
ENV PATH=/opt/tally/bin:$PATH \
    TALLY_WEB_HOST=0.0.0.0 \
    TALLY_WEB_PORT=6066 \
    TALLY_DATA_DIR=/var/lib/tally \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 6066
WORKDIR /var/lib/tally
USER 10001:10001

# Without a proxy: Docker hands its client's proxy settings to every container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['TALLY_WEB_PORT'] + '/live', timeout=4)"]

ENTRYPOINT ["tally"]
CMD ["worker"]
