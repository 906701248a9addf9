# Two images from one file. Which target for which process, and how to build: docs/compose.md.
#   light   the API, the courier, Flower, and workers whose models lie on servers of their own
#   models  workers that run models themselves; VARIANT says on what
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV PATH=/opt/voxqueue/bin:${PATH} \
    PYTHONUNBUFFERED=1


# --- what pip installs, in an environment without pip, so that images get nothing that only builds need ---------------
FROM base AS tools
WORKDIR /src
COPY constraints.txt .
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --constraint constraints.txt hatchling \
    && python3 -m venv --without-pip /opt/voxqueue
ENV PIP="/opt/tools/bin/pip --python /opt/voxqueue/bin/python install --quiet --constraint constraints.txt"

# The dependencies, for a package without code: changed code then costs no new download.
FROM tools AS light-packages
ARG EXTRAS=s3,llm,traces
COPY pyproject.toml README.md LICENSE ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/pip \
    mkdir api voxqueue workers migrations && touch api/__init__.py \
    && ${PIP} ".[${EXTRAS}]"

FROM light-packages AS models-packages
ARG VARIANT=cpu
# PyPI has torch for CUDA. It comes alone and first, so that nothing else is looked for on the index of torch.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/pip \
    case "${VARIANT}" in \
      cpu) ${PIP} --no-deps --index-url "${TORCH_INDEX}" torch ;; \
      # CTranslate2 wants cuBLAS 12; torch brings that of CUDA 13.
      cuda) ${PIP} torch nvidia-cublas-cu12 ;; \
      *) echo "VARIANT is cpu or cuda, not ${VARIANT}" >&2; exit 1 ;; \
    esac \
    && ${PIP} ".[models]"

FROM tools AS code
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY voxqueue voxqueue
COPY workers workers
COPY migrations migrations
RUN /opt/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels .

FROM light-packages AS light-built
RUN --mount=type=bind,from=code,source=/wheels,target=/wheels \
    ${PIP} --no-index --no-deps --force-reinstall /wheels/*.whl

FROM models-packages AS models-built
RUN --mount=type=bind,from=code,source=/wheels,target=/wheels \
    ${PIP} --no-index --no-deps --force-reinstall /wheels/*.whl


# --- the images -------------------------------------------------------------------------------------------------------
FROM base AS runtime
COPY deploy/docker/answers /usr/local/bin/answers
RUN groupadd --gid 10001 voxqueue \
    && useradd --uid 10001 --gid 10001 --create-home voxqueue \
    && install --directory --owner voxqueue --group voxqueue /models
# Models that workers fetch; a volume that they share.
ENV HF_HOME=/models
WORKDIR /home/voxqueue
USER 10001:10001
EXPOSE 8000
# As for the command below; other processes are asked in other ways, see docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["answers", "http://127.0.0.1:8000/livez"]
CMD ["voxqueue", "api", "--host", "0.0.0.0"]

FROM runtime AS models
ARG VARIANT=cpu
# A worker for GPUs that finds none shall say so, and not fall back to the CPU unseen.
# onnxruntime, which finds the speech in a note, would report on its use to its makers.
ENV VOXQUEUE_MODELS_DEVICE=${VARIANT} \
    ORT_DISABLE_TELEMETRY=1
COPY --from=models-built /opt/voxqueue /opt/voxqueue
USER 0:0
# So that CTranslate2 finds cuBLAS 12, which lies among the packages; on a CPU there are none of CUDA.
RUN find /opt/voxqueue -path '*/nvidia/*/lib' -type d > /etc/ld.so.conf.d/voxqueue.conf && ldconfig
USER 10001:10001

FROM runtime AS light
COPY --from=light-built /opt/voxqueue /opt/voxqueue
