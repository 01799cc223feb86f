# Both servers, each a static binary on nothing else. The same comes from `cargo xtask images`,
# which needs neither docker nor buildah.
#
#   docker build --target broker   -t ottla.dev/ottla-broker:0.1.0 .
#   docker build --target operator -t ottla.dev/ottla-operator:0.1.0 .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential
WORKDIR /src
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY broker broker
COPY operator operator
COPY crds crds
COPY tests tests
RUN cargo build --release --locked --package ottla-broker --package ottla-operator \
 && mkdir -p /out/etc \
 && cp target/*-unknown-linux-gnu/release/ottla-broker target/*-unknown-linux-gnu/release/ottla-operator /out/ \
 && echo 'ottla:x:65532:65532:ottla:/:/nologin' >/out/etc/passwd \
 && echo 'ottla:x:65532:' >/out/etc/group

FROM scratch AS operator
COPY --from=build /out/etc /etc
COPY --from=build /out/ottla-operator /ottla-operator
USER 65532:65532
ENTRYPOINT ["/ottla-operator"]

FROM scratch AS broker
COPY --from=build /out/etc /etc
COPY --from=build /out/ottla-broker /ottla-broker
USER 65532:65532
ENTRYPOINT ["/ottla-broker"]
