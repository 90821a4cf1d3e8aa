# A generation worker: one model, one device. It pulls the version in Production at its start, or takes one baked in.
#   buildah bud -t textmill-worker -f deploy/worker.Dockerfile .
#   buildah bud --build-arg DEVICE=gpu -t textmill-worker:gpu -f deploy/worker.Dockerfile .

# Pin it by digest in production: --build-arg BASE=python:3.12-slim-trixie@sha256:...
ARG BASE=python:3.12-slim-trixie
FROM ${BASE} AS install
# the same as the API's up to the model, so that both images are made of the same layers
# cpu or gpu; CUDA's libraries for gpu come with the Python packages, the driver with the machine
ARG DEVICE=cpu
COPY serving/requirements.lock serving/requirements-gpu.lock /tmp/
RUN if [ "${DEVICE}" = gpu ]; then lock=requirements-gpu.lock; else lock=requirements.lock; fi \
    && python3 -m venv /opt/textmill \
    && /opt/textmill/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -r "/tmp/${lock}" \
    && rm -rf /opt/textmill/lib/python3.12/site-packages/pip* /opt/textmill/bin/pip*
COPY textmill /app/textmill
COPY serving /app/serving
COPY deploy/with_secrets.py /app/with_secrets.py
RUN PYTHONPATH=/app /opt/textmill/bin/python -m compileall -q /app
# the model of a self-contained image; the folder holds only .keep otherwise
ARG MODEL=deploy/bake/empty
COPY ${MODEL} /model

FROM ${BASE}
# a first process that hands on signals from the start: without, one that comes while Python starts would be lost
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY --from=install /opt/textmill /opt/textmill
COPY --from=install /app /app
COPY --from=install /model /model
RUN install -d -o 10001 -g 10001 /models
ENV PATH=/opt/textmill/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 HOME=/tmp TEXTMILL_MODEL=stage:Production TEXTMILL_MODEL_NAME= \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /models
VOLUME ["/models"]
EXPOSE 8100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8100/health', timeout=4)"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="textmill-worker" \
      org.opencontainers.image.description="Textmill's generation worker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# what follows is given to serving.worker, such as --slots 16
ENTRYPOINT ["tini", "--", "python3", "/app/with_secrets.py", "python3", "-P", "-m", "serving.rollout.pull", "--into", "/models", "--baked", "/model", "--run", "--host", "0.0.0.0", "--port", "8100"]
CMD ["--device", "cpu"]
