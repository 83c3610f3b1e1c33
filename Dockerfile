# One image for the operator and for the pods that it runs.
#
#   docker build -t modelferry .        (podman, buildah and kaniko build it as well)
#
# BASE can be any Debian-like image; its Python (>= 3.11) is used when it has one, and installed when it has none.
# BUILD_BASE must bring the same Python; where it has no venv module, that is installed in the build stage alone.
ARG BASE=docker.io/library/debian:bookworm-slim
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
RUN python3 -c 'import ensurepip, venv' 2>/dev/null || { \
      apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv; }
WORKDIR /src
# Where pip finds its settings when the builder needs some (an index of its own, say): a file in a directory that is
# mounted while the image is built, and is no part of it.
ARG PIP_CONFIG_FILE=/dev/null
# What the image runs goes into a virtual environment without pip; another one, only in this stage, fills it.
# --only-binary: nothing that is downloaded gets to run code here. All is compiled here, because the image's file system
# is read-only where it runs; but for the generated Kubernetes APIs, 47 MB that the operator doesn't import.
COPY requirements.lock ./
RUN python3 -m venv --without-pip /opt/modelferry \
 && python3 -m venv /build \
 && printf '%s\n' 'setuptools==80.10.2 --hash=sha256:95b30ddfb717250edb492926c92b5221f7ef3fbcc2b07579bcd4a27da21d0173' \
      > build.lock \
 && /build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r build.lock \
 && /build/bin/pip --python /opt/modelferry/bin/python install --no-cache-dir --no-compile \
      --only-binary :all: --require-hashes -r requirements.lock \
 && /opt/modelferry/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x '/kubernetes/(aio/)?client/(api|models)/' /opt/modelferry/lib
COPY LICENSE README.md pyproject.toml ./
COPY operator operator
RUN /build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /build/bin/pip --python /opt/modelferry/bin/python install --no-cache-dir --no-compile --no-index --no-deps \
      /wheel/*.whl \
 && /opt/modelferry/bin/python -m compileall -q --invalidation-mode unchecked-hash \
      /opt/modelferry/lib/python3*/site-packages/modelferry

FROM ${BASE}
RUN python3 -c 'import sqlite3, ssl' 2>/dev/null && test -s /etc/ssl/certs/ca-certificates.crt || { \
      apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 \
      && rm -rf /var/cache/apt /var/lib/apt/lists/*; }
# A name for the user, for programs that ask who they are; any other numeric user works too.
RUN echo 'modelferry:x:65532:65532:Modelferry:/:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'modelferry:x:65532:' >> /etc/group
LABEL org.opencontainers.image.title="modelferry" \
      org.opencontainers.image.description="Puts model files on the nodes of a Kubernetes cluster" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/modelferry/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/opt/modelferry/bin/modelferry"]
# Last, because it changes the most.
COPY --from=build /opt/modelferry /opt/modelferry
