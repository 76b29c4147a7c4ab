# The server, the models in models/ and their dependencies; no shell, no package manager, no pip, no PyTorch.
#   docker build --tag cellgate .
#   docker run --rm --publish 127.0.0.1:8000:8000 cellgate
# docs/docker.md: settings, volumes, proxies, the GPU image.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# 1. Install the dependencies; collect them in /rootfs, with the interpreter and the libraries that they link.
FROM ${PYTHON_IMAGE} AS packages
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
ARG PIP_INDEX_URL
WORKDIR /build
COPY pyproject.toml constraints.txt deploy/image/requirements.py ./
# Extras of pyproject.toml. The Redis client is only 1.3 MB, so every image supports CELLGATE_STORE=redis.
ARG EXTRAS="redis"
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.pem,required=false --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi \
    && python -m venv --without-pip /opt/cellgate && python -m venv --without-pip /opt/build \
    && python requirements.py pyproject.toml "$EXTRAS" > requirements.txt \
    && pip --python /opt/cellgate install --constraint constraints.txt --requirement requirements.txt \
    && pip --python /opt/build install --constraint constraints.txt hatchling
COPY deploy/image/rootfs.py ./
RUN python rootfs.py /opt/cellgate /rootfs

# 2. Cellgate itself, in a separate layer: a change of code changes a megabyte, not the dependencies.
FROM packages AS application
COPY README.md ./
COPY service ./service
# The example model of `cellgate demo` is no part of the image, which has the models in models/.
RUN mkdir -p models/vowels && pip --python /opt/build wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /opt/cellgate install --no-cache-dir --no-deps --no-index --no-compile \
        --prefix /application/opt/cellgate /wheel/*.whl \
    && rm -f /application/opt/cellgate/bin/cellgate-train
COPY deploy/image/healthcheck.py /application/opt/cellgate/
RUN python -m compileall -q --invalidation-mode unchecked-hash -s /application -p / /application

# 3. The image.
FROM scratch
LABEL org.opencontainers.image.title="Cellgate" \
      org.opencontainers.image.description="REST inference for recurrent sequence models with durable sessions" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /rootfs /
COPY --from=application /application /
COPY models /models
ENV PATH=/opt/cellgate/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONUTF8=1 \
    OPENBLAS_NUM_THREADS=1 \
    ORT_DISABLE_TELEMETRY=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    CELLGATE_HOST=0.0.0.0 \
    CELLGATE_PORT=8000 \
    CELLGATE_MODELS_DIR=/models \
    CELLGATE_SESSIONS_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "/opt/cellgate/healthcheck.py"]
ENTRYPOINT ["cellgate"]
CMD ["serve"]
