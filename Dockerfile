# The command line with CPU kernels; a GPU's are built from source where its toolkit is (docs/install.md).
#   docker build -t wavenet . && docker run --rm -v "$PWD:/work" wavenet train --data sounds/
FROM python:3.12-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ENV WAVENET_KERNELS_CUDA=0
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user
COPY constraints.txt /tmp/constraints.txt
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt \
        --index-url https://download.pytorch.org/whl/cpu torch
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /tmp/constraints.txt \
        "$(echo /wheels/*.whl)[classifier,export]"
USER user
WORKDIR /work
ENTRYPOINT ["wavenet"]
