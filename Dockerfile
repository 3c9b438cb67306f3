# The service alone: base dependencies, CPU build of torch, the shipped bundle. Builds with the classic builder and with
# BuildKit. The image has the layout of a checkout, because the same scripts/setup installs both.

FROM python:3.11-slim-bookworm AS build
WORKDIR /app
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 CEPSTRA_TORCH=cpu
COPY constraints.txt pyproject.toml ./
COPY scripts scripts
# Empty rooms stand in for ours, so that a change of our code does not install torch again.
RUN mkdir features model training service \
 && touch cli.py README.md LICENSE \
 && scripts/setup
COPY . /checkout
# A checkout made under a strict umask would be unreadable for the image's user.
RUN chmod -R a+rX /checkout

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin cepstra \
 && install -d -m 700 -o cepstra -g cepstra /state \
 && mkdir /models
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY --from=build /checkout .
# Nothing is written but to /tmp and /state, so the root may be mounted read-only.
ENV PATH=/app/.venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# What the command would start itself anew with (model/allocation.py).
ENV GLIBC_TUNABLES=glibc.malloc.tcache_count=20000
# Inside a container 127.0.0.1 is the container's own; who may reach the port is decided where it is published. Since the
# image cannot know where that is, it wants keys, or CEPSTRA_ALLOW_ANONYMOUS=true from whoever runs it.
ENV CEPSTRA_HOST=0.0.0.0 CEPSTRA_PORT=8000 CEPSTRA_STATE_DIR=/state CEPSTRA_MODELS_DIR=/models
VOLUME /state
USER cepstra
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["cepstra", "serve"]
