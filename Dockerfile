# syntax=docker/dockerfile:1
# docker build -t statecast .    then: docker run --rm -p 127.0.0.1:8080:8080 -v statecast:/var/lib/statecast statecast

FROM node:22-bookworm-slim AS pages
WORKDIR /src/web
# The lock file alone first: the install is repeated only when it changes.
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

FROM rust:1.95-bookworm AS binary
WORKDIR /src
COPY . .
COPY --from=pages /src/web/dist web/dist
# The caches survive between builds; the binary must leave them to become part of a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin statecast \
    && install -D target/release/statecast /out/statecast \
    && install -d /out/data

FROM debian:bookworm-slim
# For brokers and databases behind TLS. Nothing else is installed: OpenSSL is inside the binary.
COPY --from=binary /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=binary /out/statecast /usr/local/bin/statecast
# A named volume takes its owner from this folder.
COPY --from=binary --chown=10001:10001 /out/data /var/lib/statecast
USER 10001:10001
VOLUME /var/lib/statecast
WORKDIR /var/lib/statecast
# The admin listener stays on the container's own loopback.
ENV STATECAST_SERVER__LISTEN=0.0.0.0:8080 \
    STATECAST_EMBEDDED__DATA_DIR=/var/lib/statecast
EXPOSE 8080
STOPSIGNAL SIGTERM
# Bash speaks enough HTTP for this, so that no client has to be installed. Live, not ready: a container that waits for
# its database is not sick, and must not be restarted for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r -t 2 _ code _ <&3 && [ \"$code\" = 200 ]"]
ENTRYPOINT ["statecast"]
CMD ["serve"]
