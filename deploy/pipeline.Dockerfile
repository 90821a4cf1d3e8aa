# The whole pipeline: TFX, MLflow's client, TensorFlow. Kubeflow's steps, the compose file's runs and TensorBoard use it.
#   buildah bud -t textmill-pipeline -f deploy/pipeline.Dockerfile .

# Pin it by digest in production: --build-arg BASE=python:3.12-slim-trixie@sha256:...
ARG BASE=python:3.12-slim-trixie
FROM ${BASE} AS install
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# cpu or gpu; CUDA's libraries for gpu come with the Python packages, the driver with the machine
ARG DEVICE=cpu
COPY deploy/locks/pipeline-cpu.lock deploy/locks/pipeline-gpu.lock /tmp/
RUN python3 -m venv /opt/textmill \
    && /opt/textmill/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -r "/tmp/pipeline-${DEVICE}.lock"
COPY textmill /app/textmill
COPY scraper /app/scraper
COPY components /app/components
COPY pipeline /app/pipeline
COPY serving /app/serving
COPY pyproject.toml setup.py README.md LICENSE /app/
COPY deploy/with_secrets.py /app/with_secrets.py
RUN PYTHONPATH=/app /opt/textmill/bin/python -m compileall -q /app \
    && printf '#!/opt/textmill/bin/python -P\nfrom textmill.cli import main\n\nmain()\n' >/opt/textmill/bin/textmill \
    && chmod 755 /opt/textmill/bin/textmill

FROM ${BASE}
# a first process that hands on signals from the start: without, one that comes while Python starts would be lost
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="textmill-pipeline" \
      org.opencontainers.image.description="Textmill's pipeline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=install /opt/textmill /opt/textmill
COPY --from=install /app /app
RUN install -d -o 10001 -g 10001 /data
ENV PATH=/opt/textmill/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 HOME=/tmp NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
STOPSIGNAL SIGTERM
# a step runs once and ends, so its exit code says how it went
HEALTHCHECK NONE
ENTRYPOINT ["tini", "--", "python3", "/app/with_secrets.py"]
CMD ["textmill", "--help"]
