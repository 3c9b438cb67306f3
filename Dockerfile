# Cepstra in one image: `cepstra serve`, `cepstra work`, the shipped bundle (docs/containers.md). Builds with the classic
# builder and with BuildKit, for amd64 and arm64. It has the layout of a checkout, because the same scripts/setup
# installs both.
#
#   TORCH    cpu, or plain: the build that pip takes by itself, on Linux the one with CUDA
#   EXTRAS   what is installed beside the base, as in pyproject.toml; train is for training in a container
#   WHEELS   folders or addresses of wheels that are looked at besides the package index

ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
ARG TORCH=cpu
ARG EXTRAS="onnx postgresql otel"
ARG WHEELS=""
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 CEPSTRA_TORCH=${TORCH}
COPY constraints.txt pyproject.toml ./
COPY scripts scripts
# Empty rooms stand in for ours, so that a change of our code does not install torch again.
RUN mkdir features model training service \
 && touch cli.py README.md LICENSE NOTICE \
 && PIP_FIND_LINKS="$WHEELS $PIP_FIND_LINKS" scripts/setup $EXTRAS \
 && scripts/slim .venv
COPY . /checkout
# A checkout made under a strict umask would be unreadable for the image's user; and on a read-only root Python could not
# keep what it has compiled, so that every start would compile anew.
RUN chmod -R a+rX /checkout \
 && .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /checkout -p /app /checkout

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin cepstra \
 && install -d -m 700 -o cepstra -g cepstra /state \
 && mkdir /models
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY --from=build /checkout .
# Nothing is written but to /tmp and /state, so the root may be mounted read-only.
ENV PATH=/app/.venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Inside a container 127.0.0.1 is the container's own; who may reach the port is decided where it is published. Since the
# image cannot know where that is, it wants keys, or CEPSTRA_ALLOW_ANONYMOUS=true from whoever runs it.
ENV CEPSTRA_HOST=0.0.0.0 CEPSTRA_PORT=8000 CEPSTRA_STATE_DIR=/state CEPSTRA_MODELS_DIR=/models
VOLUME /state
USER cepstra
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["cepstra", "serve"]
# Last, because they change with every commit.
ARG PYTHON_IMAGE
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="Cepstra" \
      org.opencontainers.image.description="Self-hosted speech recognition behind OpenAI's transcription API" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
