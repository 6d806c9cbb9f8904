# The image of both services: `ocp-ingest serve|work --runtime aws`, on ARM64 (Graviton) or x86-64.
#
#   docker buildx build --platform linux/arm64 --build-arg CONFIG=site.toml -t ocp-ingest .
#
# Pin the base by its digest for a deployment that can be built again:
#   --build-arg PYTHON_IMAGE=python:3.13-slim-trixie@sha256:…
# Everything that pip installs is pinned by version and hash in requirements/.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements/uv.lock requirements/build.lock requirements/aws.lock requirements/
# Tools have an environment of their own; what runs has another, which the image takes over.
RUN python -m venv /opt/tools && \
    /opt/tools/bin/python -m pip install --require-hashes -r requirements/uv.lock && \
    /opt/tools/bin/uv pip install --python /opt/tools/bin/python --require-hashes --only-binary :all: -r requirements/build.lock
RUN /opt/tools/bin/uv venv --python python3 /opt/ocp-ingest && \
    /opt/tools/bin/uv pip install --python /opt/ocp-ingest/bin/python --require-hashes --only-binary :all: --compile-bytecode -r requirements/aws.lock
COPY pyproject.toml README.md LICENSE ./
COPY src/ocp_ingest src/ocp_ingest
# The console shows the runbooks.
COPY docs/runbooks src/ocp_ingest/runbooks
COPY src/ocp_sim src/ocp_sim
RUN /opt/tools/bin/uv build --python /opt/tools/bin/python --wheel --no-build-isolation --out-dir dist && \
    /opt/tools/bin/uv pip install --python /opt/ocp-ingest/bin/python --no-deps --no-index --compile-bytecode dist/*.whl

FROM ${PYTHON_IMAGE}
# The site's configuration; secrets are in Secrets Manager, never in here.
ARG CONFIG=ocp-ingest.toml
# Numbers, so that the platform can tell that it is not root; no shell, no home. Nothing is
# installed into the image once it is built.
RUN groupadd --system --gid 10001 ocp-ingest && \
    useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --no-log-init ocp-ingest && \
    python -m pip uninstall --yes --quiet --root-user-action ignore pip
COPY --from=build /opt/ocp-ingest /opt/ocp-ingest
COPY ${CONFIG} /app/ocp-ingest.toml
ENV PATH=/opt/ocp-ingest/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    OCP_INGEST_CONFIG=/app/ocp-ingest.toml
WORKDIR /app
# The root file system is read-only on ECS and /tmp a volume of the task; only a declared one keeps
# the rights that /tmp has here (ECS developer guide, bind-mounts), else root alone could write.
VOLUME ["/tmp"]
USER 10001:10001
EXPOSE 8080
# ECS asks for health; a second one here would only differ from it.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["ocp-ingest"]
CMD ["--help"]
