# Sluiceway, for `ingest`, `process` and the other commands. Build and run:
#   docker build -t sluiceway:0.1.0 .
#   docker run --read-only --tmpfs /tmp sluiceway:0.1.0 version
# It needs no writable folder but /tmp. `--build-arg EXTRAS=embedded` adds the ClickHouse server of `sluiceway up`
# (530 MB), which also needs a volume on /var/lib/sluiceway.

FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS build
ARG EXTRAS=""
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY locks locks
COPY schemas schemas
COPY ingest ingest
COPY processors processors
COPY dashboards dashboards
COPY sluiceway sluiceway
# Nothing is installed but the files whose hashes are in locks/, no code of a source distribution runs, and what makes our
# own wheel is locked too. The environment gets no pip of its own: the image's installs into it.
RUN python -m pip install --no-cache-dir --require-hashes --only-binary=:all: -r locks/build.txt \
    && python -m pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /dist . \
    && python -m venv --without-pip /opt/sluiceway \
    && python -m pip --python /opt/sluiceway/bin/python install --no-cache-dir --no-compile --require-hashes \
        --only-binary=:all: -r "locks/image${EXTRAS:+-$EXTRAS}.txt" \
    && python -m pip --python /opt/sluiceway/bin/python install --no-cache-dir --no-compile --no-index --no-deps \
        /dist/*.whl \
    && python -m pip --python /opt/sluiceway/bin/python check \
    && rm -rf /opt/sluiceway/lib/python3.11/site-packages/numba/tests \
        /opt/sluiceway/lib/python3.11/site-packages/pyarrow/include \
        /opt/sluiceway/lib/python3.11/site-packages/pyarrow/tests
# The decoder is compiled here, once, for every machine that the image may run on (decision 0009),
# and below the paths that it will have there.
ENV NUMBA_CPU_NAME=generic XDG_CACHE_HOME=/opt/sluiceway/cache
RUN /opt/sluiceway/bin/python -m compileall -q -j 0 /opt/sluiceway/lib \
    && /opt/sluiceway/bin/python -m processors.warm_up \
    && /opt/sluiceway/bin/python -c "import ingest.partition_kernel, ingest.split_kernel, ingest.validate_kernel"

FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
LABEL org.opencontainers.image.title="sluiceway" \
      org.opencontainers.image.description="OTLP in, exactly-once rows in ClickHouse out" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/sluiceway /opt/sluiceway
# A volume laid here takes this owner over.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/sluiceway
ENV PATH=/opt/sluiceway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CPU_NAME=generic \
    XDG_CACHE_HOME=/opt/sluiceway/cache \
    SLUICEWAY_DATA_DIR=/var/lib/sluiceway
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/sluiceway
EXPOSE 4317 4318 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["sluiceway"]
CMD ["--help"]
