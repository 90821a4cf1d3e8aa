# Training from a mounted text file, or from the article store, to a mounted folder. Two commands:
#   buildah bud --build-arg MODELSIZE=124M -t textmill-train -f deploy/train.Dockerfile .
#   podman run --rm -v ./corpus.txt:/corpus.txt:ro -v ./checkpoint:/checkpoint textmill-train
# The second one again goes on where the first was stopped. Options of `textmill train` go at the end, such as --steps 500.

# Pin it by digest in production: --build-arg BASE=python:3.12-slim-trixie@sha256:...
ARG BASE=python:3.12-slim-trixie
FROM ${BASE} AS install
# cpu or gpu; CUDA's libraries for gpu come with the Python packages, the driver with the machine
ARG DEVICE=cpu
COPY deploy/locks/train-cpu.lock deploy/locks/train-gpu.lock /tmp/
RUN python3 -m venv /opt/textmill \
    && /opt/textmill/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -r "/tmp/train-${DEVICE}.lock" \
    && rm -rf /opt/textmill/lib/python3.12/site-packages/pip* /opt/textmill/bin/pip*
COPY textmill /app/textmill
COPY serving /app/serving
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
# what to start from: scratch, 124M 355M 774M 1558M (downloaded into the checkpoint folder), or a mounted folder
ARG MODELSIZE=scratch
LABEL org.opencontainers.image.title="textmill-train" \
      org.opencontainers.image.description="Textmill: train a GPT-2 from a text file" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=install /opt/textmill /opt/textmill
COPY --from=install /app /app
RUN install -d -o 10001 -g 10001 /checkpoint
ENV PATH=/opt/textmill/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 HOME=/tmp MODELSIZE=${MODELSIZE} TEXTMILL_TEXT=/corpus.txt \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /checkpoint
VOLUME ["/checkpoint"]
STOPSIGNAL SIGTERM
# the training's own child writes its progress into the log at least once a minute
HEALTHCHECK --interval=60s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-c", "import os, time; assert time.time() - max(e.stat().st_mtime for e in os.scandir('/checkpoint/logs')) < 900"]
ENTRYPOINT ["tini", "--", "python3", "/app/with_secrets.py", "textmill", "train", "--out", "/checkpoint"]
CMD []
