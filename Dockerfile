# The server as an image, by the conventions of Chroma's own: port 8000, data in /data, /config.yaml.
#
#   docker build -t chroma .
#   docker run -p 8000:8000 -v chroma-data:/data chroma
#
# A configuration mounted over /config.yaml, or CHROMA_<KEY> in the environment, changes settings; see
# docs/configuration.md. With another port the health check needs CHROMA_PORT to be set to it.

FROM debian:12-slim AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc make pkg-config libc6-dev libmicrohttpd-dev libcjson-dev libsqlite3-dev libuv1-dev libyaml-dev \
        libpcre2-dev libzstd-dev libxxhash-dev libcrypt-dev libgnutls28-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -j"$(nproc)" && strip build/chroma

FROM debian:12-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        dumb-init libmicrohttpd12 libcjson1 libsqlite3-0 libuv1 libyaml-0-2 libpcre2-8-0 libzstd1 libcrypt1 libgnutls30 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 chroma \
    && useradd --system --uid 10001 --gid chroma --home-dir /data --shell /usr/sbin/nologin chroma \
    && mkdir /data && chown chroma:chroma /data \
    && printf 'persist_path: "/data"\n' > /config.yaml
COPY --from=build /src/build/chroma /usr/local/bin/chroma

USER chroma
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["chroma", "healthcheck"]
ENTRYPOINT ["dumb-init", "--", "chroma"]
CMD ["run", "/config.yaml"]
