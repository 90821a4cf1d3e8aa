# MLflow's server with the drivers for PostgreSQL and S3, in the version that the rest is tested with.
#   buildah bud -t textmill-mlflow -f deploy/mlflow.Dockerfile .

# Pin it by digest in production: --build-arg BASE=python:3.12-slim-trixie@sha256:...
ARG BASE=python:3.12-slim-trixie
FROM ${BASE} AS install
COPY deploy/locks/mlflow.lock /tmp/
RUN python3 -m venv /opt/mlflow \
    && /opt/mlflow/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -r /tmp/mlflow.lock \
    && rm -rf /opt/mlflow/lib/python3.12/site-packages/pip* /opt/mlflow/bin/pip*
COPY deploy/with_secrets.py deploy/bucket.py /app/

FROM ${BASE}
# a first process that hands on signals from the start: without, one that comes while Python starts would be lost
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="textmill-mlflow" \
      org.opencontainers.image.description="MLflow's server for Textmill" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=install /opt/mlflow /opt/mlflow
COPY --from=install /app /app
RUN install -d -o 10001 -g 10001 /mlflow
# job execution would start nine processes for evaluations that run elsewhere
ENV PATH=/opt/mlflow/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER 10001:10001
WORKDIR /mlflow
VOLUME ["/mlflow"]
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
ENTRYPOINT ["tini", "--", "python3", "/app/with_secrets.py", "mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", "--serve-artifacts"]
CMD ["--backend-store-uri", "sqlite:////mlflow/mlflow.db", "--artifacts-destination", "/mlflow/artifacts"]
