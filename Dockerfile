# The picker alone: `docker run -v ./objects.yaml:/etc/epp/objects.yaml IMAGE --objects /etc/epp/objects.yaml`
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY requirements/run.txt requirements/
RUN python -m venv /opt/epp \
 && /opt/epp/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/run.txt
COPY epp epp
RUN cp -r epp "$(/opt/epp/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/" \
 && /opt/epp/bin/python -m compileall -q /opt/epp

FROM python:3.12-slim-bookworm
COPY --from=build /opt/epp /opt/epp
ENV PATH=/opt/epp/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 9002 9003 9090
ENTRYPOINT ["python", "-m", "epp.cli", "serve"]
