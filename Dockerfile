# syntax=docker/dockerfile:1

# What `make playground` puts into the binary, so that the playground needs no internet.
FROM --platform=$BUILDPLATFORM node:24-slim AS playground
WORKDIR /src/web
COPY web/playground.html .
COPY web/playground playground
RUN npm --prefix playground ci && node playground/assets.js

# Go reads the version from the Git repository; of a context without one it is "devel".
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY . .
COPY --from=playground /src/web/playground/assets web/playground/assets
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags="-s -w" -o /out/retrieverkeys . && mkdir /out/data

# CA certificates and a user without rights, but no shell. The root may be read-only; only the embedded store writes, where
# EMBEDDED_PATH says, for which /data is the place to mount a volume.
FROM gcr.io/distroless/static-debian13:nonroot
COPY --from=build /out/retrieverkeys /retrieverkeys
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
# ADMIN_ADDR stays 127.0.0.1:8081, within the container: what scrapes it from outside sets it, such as to 0.0.0.0:8081.
ENV LISTEN_ADDR=0.0.0.0:8080 DEMO=false
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/retrieverkeys", "healthcheck"]
ENTRYPOINT ["/retrieverkeys"]
CMD ["serve"]
