# One image for every service of Mintwire and for its command; the container's command picks which.
# Plain Dockerfile: no BuildKit feature is needed.

FROM python:3.13-slim AS dependencies
COPY requirements.txt /tmp/requirements.txt
# The environment has no pip of its own, so no package installer reaches the final image.
RUN python -m venv --without-pip /opt/mintwire \
 && python -m pip --python /opt/mintwire/bin/python install \
        --no-cache-dir --no-compile --disable-pip-version-check --only-binary :all: \
        --require-hashes -r /tmp/requirements.txt \
 && /opt/mintwire/bin/python -m compileall -q /opt/mintwire/lib

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Mintwire" \
      org.opencontainers.image.description="Promo codes for partners: mint, redeem exactly once, tell the partner by a signed webhook."
# The installer of the base image is removed, because nothing is installed at run time. The user id is fixed and numeric, so
# that an orchestrator can see that it is not root.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/site-packages/pip* \
 && groupadd --system --gid 10001 mintwire \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mintwire \
 && install -d -o mintwire -g mintwire -m 0700 /var/lib/mintwire
COPY --from=dependencies /opt/mintwire /opt/mintwire
WORKDIR /app
COPY shared shared
COPY services services
COPY mintwire mintwire
COPY examples examples
# Compiled now, because the file system is read-only at run time.
RUN /opt/mintwire/bin/python -m compileall -q .
ENV PATH=/opt/mintwire/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    MINTWIRE_IN_CONTAINER=1
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 8000 8001 8002 8003
CMD ["python", "-m", "mintwire", "--help"]
