# syntax=docker/dockerfile:1
# One image for web, workers, beat, relay and migrations; compose.yaml gives each its command.

FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check uv==0.13.8
COPY requirements.txt /tmp/requirements.txt
# Compiled here: the child that tries foreign model files may not write bytecode, and would import for seconds every time.
RUN --mount=type=cache,target=/root/.cache/uv \
    UV_LINK_MODE=copy /opt/venv/bin/uv pip sync --require-hashes --compile-bytecode --python /opt/venv/bin/python /tmp/requirements.txt \
    && rm /opt/venv/bin/uv /opt/venv/bin/uvx

FROM python:3.11-slim-bookworm
# LightGBM's library is linked against the system's OpenMP.
RUN apt-get update && apt-get install --no-install-recommends --yes libgomp1 && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 tiltyard && useradd --system --uid 10001 --gid tiltyard --home-dir /srv/tiltyard --shell /usr/sbin/nologin tiltyard
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=mlops.settings \
    VAR_DIR=/srv/tiltyard/var \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json
WORKDIR /srv/tiltyard
COPY . .
# Styles and scripts belong to the image. Of the state folder only `artifacts` and `data` are meant to be volumes.
RUN python -m compileall -q . \
    && python manage.py collectstatic --no-input \
    && mkdir -p var/artifacts var/data var/tmp \
    && chown -R tiltyard:tiltyard var \
    && chmod -R u=rwX,go= var
USER tiltyard
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
CMD ["sh", "-c", "exec python -m granian --interface rsgi --workers 1 --no-ws --http1-header-read-timeout 10000 --respawn-failed-workers --host $HOST --port $PORT mlops.rsgi:door"]
