# syntax=docker/dockerfile:1

# The assets that `make playground` embeds, so that the playground needs no internet.
FROM --platform=$BUILDPLATFORM node:24-slim AS playground
WORKDIR /src/web
COPY web/playground.html .
COPY web/playground playground
RUN npm --prefix playground ci && node playground/assets.js

# Go takes the version from the Git repository. If the context has none, the version is "devel".
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY . .
COPY --from=playground /src/web/playground/assets web/playground/assets
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags="-s -w" -o /out/retrieverkeys . && mkdir /out/data

# The image has CA certificates and an unprivileged user, but no shell. Its root can be read-only. Only the embedded store writes, to
# EMBEDDED_PATH: mount a volume at /data for it.
FROM gcr.io/distroless/static-debian13:nonroot
COPY --from=build /out/retrieverkeys /retrieverkeys
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
# ADMIN_ADDR stays at 127.0.0.1:8081, within the container. To scrape it from outside, set it, for example to 0.0.0.0:8081.
ENV LISTEN_ADDR=0.0.0.0:8080 DEMO=false
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/retrieverkeys", "healthcheck"]
ENTRYPOINT ["/retrieverkeys"]
CMD ["serve"]
