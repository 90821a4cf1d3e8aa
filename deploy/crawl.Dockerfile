# Crawling alone: from the sites of a configuration to the article store.
#   buildah bud -t textmill-crawl -f deploy/crawl.Dockerfile .

# Pin it by digest in production: --build-arg BASE=python:3.12-slim-trixie@sha256:...
ARG BASE=python:3.12-slim-trixie
FROM ${BASE} AS install
COPY deploy/locks/crawl.lock /tmp/
RUN python3 -m venv /opt/textmill \
    && /opt/textmill/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -r /tmp/crawl.lock \
    && rm -rf /opt/textmill/lib/python3.12/site-packages/pip* /opt/textmill/bin/pip*
COPY textmill /app/textmill
COPY scraper /app/scraper
COPY deploy/with_secrets.py /app/with_secrets.py
RUN PYTHONPATH=/app /opt/textmill/bin/python -m compileall -q /app

FROM ${BASE}
# a first process that hands on signals from the start: without, one that comes while Python starts would be lost
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="textmill-crawl" \
      org.opencontainers.image.description="Textmill's crawler" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=install /opt/textmill /opt/textmill
COPY --from=install /app /app
RUN install -d -o 10001 -g 10001 /data
ENV PATH=/opt/textmill/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
STOPSIGNAL SIGTERM
# it runs once and ends, so its exit code says how it went
HEALTHCHECK NONE
ENTRYPOINT ["tini", "--", "python3", "/app/with_secrets.py", "python3", "-P", "-m", "scraper.crawl"]
CMD ["--config", "/etc/textmill/textmill.yaml", "--log-file", "-"]
