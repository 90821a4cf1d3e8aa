#!/bin/sh
# Build, publish or bake the images: deploy/images.sh build|push [NAME...], or bake CONFIG. `make images` calls it.
# BUILD: docker, podman or buildah. IMAGES: the namespace in the registry. TAG: the version. DEVICE: cpu or gpu.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-docker} IMAGES=${IMAGES:-localhost} TAG=${TAG:-latest} DEVICE=${DEVICE:-cpu}
ALL="api worker train crawl mlflow pipeline"
suffix=
[ "$DEVICE" = cpu ] || suffix="-$DEVICE"

build() {  # build NAME TAG OPTION...
    name=$1 tag=$2
    shift 2
    case $BUILD in
        buildah) set -- buildah bud --layers --format docker "$@" ;;  # the OCI format has no health checks
        podman) set -- podman build --format docker "$@" ;;
        *) set -- "$BUILD" build "$@" ;;
    esac
    # shellcheck disable=SC2086  # BUILD_OPTIONS are several
    "$@" ${BUILD_OPTIONS:-} --build-arg VERSION="$TAG" --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
        -t "$IMAGES/textmill-$name:$tag" -f "deploy/$name.Dockerfile" .
}

publish() {  # push IMAGE and write its digest into the file DIGEST: publish IMAGE DIGEST
    case $BUILD:$IMAGES in
        docker:*) docker push "$1" && docker inspect --format '{{index .RepoDigests 0}}' "$1" | sed 's/.*@//' >"$2" ;;
        *:127.0.0.1:* | *:localhost:*) "$BUILD" push --tls-verify=false --digestfile "$2" "$1" ;;
        *) "$BUILD" push --digestfile "$2" "$1" ;;
    esac
}

device_of() {  # api, crawl and mlflow compute nothing
    case $1 in worker | train | pipeline) echo "$DEVICE" ;; *) echo cpu ;; esac
}

tag_of() { [ "$(device_of "$1")" = cpu ] && echo "$TAG" || echo "$TAG$suffix"; }

command=$1
shift
case $command in
    build)
        for each in ${*:-$ALL}; do
            if [ "$(device_of "$each")" = cpu ]; then
                build "$each" "$TAG"
            else
                build "$each" "$(tag_of "$each")" --build-arg DEVICE="$DEVICE"
            fi
        done
        ;;
    push)
        case $IMAGES in localhost | localhost/*) echo "IMAGES names no hub; write make push IMAGES=registry.example/me." >&2; exit 2 ;; esac
        work=$(mktemp -d) digests=
        trap 'rm -rf "$work"' EXIT
        for each in ${*:-$ALL}; do
            image="$IMAGES/textmill-$each:$(tag_of "$each")"
            publish "$image" "$work/digest"
            digests="$digests ${image%:*}@$(cat "$work/digest")"
        done
        echo "By digest, as kubeflow.image and Kubernetes want them:"
        printf '  %s\n' $digests
        ;;
    bake)
        textmill=.venv/bin/textmill
        [ -x "$textmill" ] || textmill=textmill
        rm -rf deploy/bake/model
        trap 'rm -rf deploy/bake/model' EXIT
        "$textmill" download --to deploy/bake/model --config "$1"
        chmod -R a+rX deploy/bake/model  # containers read it as another user
        build api "$TAG-baked" --build-arg MODEL=deploy/bake/model
        build worker "$TAG-baked$suffix" --build-arg MODEL=deploy/bake/model --build-arg DEVICE="$DEVICE"
        echo "The images textmill-api:$TAG-baked (with --bundle /model) and textmill-worker:$TAG-baked$suffix hold the Production model."
        ;;
    *) echo "There is no '$command'; choose build, push or bake." >&2; exit 2 ;;
esac
