# The picker. `docker build -t epp .`, then in a cluster by deploy/, or without one:
# `docker run -v ./objects.yaml:/etc/epp/objects.yaml epp --objects /etc/epp/objects.yaml`
FROM python:3.12-slim-bookworm AS build

# Everything from outside is pinned by hash.
COPY requirements/build.txt requirements/run.txt /src/requirements/
RUN python -m pip install --no-cache-dir --require-hashes -r /src/requirements/build.txt
# The picker's own folder has no pip: what isn't there needs no patches.
RUN python -m venv --without-pip /opt/epp \
 && python -m pip --python /opt/epp/bin/python install --no-cache-dir --require-hashes -r /src/requirements/run.txt

COPY pyproject.toml README.md LICENSE /src/
COPY epp /src/epp
RUN python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /src/dist /src \
 && python -m pip --python /opt/epp/bin/python install --no-deps --no-index --find-links /src/dist epp

FROM python:3.12-slim-bookworm

ARG VERSION=0.1.0.dev0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="epp" \
      org.opencontainers.image.description="An Endpoint Picker for LLM inference pools" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

COPY --from=build /opt/epp /opt/epp
# Nothing is written to disk, so the root file system may be read-only.
ENV PATH=/opt/epp/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532

# ext_proc, health, metrics
EXPOSE 9002 9003 9090
# The first SIGTERM begins to drain.
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own; this one is for everybody else. It asks the default --metrics-port.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["epp", "serve"]
