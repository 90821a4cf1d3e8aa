#!/bin/sh
# A container that trains from a text file and leaves a checkpoint folder. ENGINE: docker or podman. In two commands:
#     sh examples/container.sh build               # MODELSIZE=124M and DEVICE=gpu are for its environment
#     sh examples/container.sh train corpus.txt checkpoint [OPTION OF textmill train...]
# The second one again goes on where the first was stopped. The folder then has model/, logs/ and checkpoints/.
set -eu
ENGINE=${ENGINE:-docker} DEVICE=${DEVICE:-cpu} MODELSIZE=${MODELSIZE:-scratch} IMAGE=${IMAGE:-textmill-train}
case ${1:-} in
    build)
        cd "$(dirname "$0")/.."
        # shellcheck disable=SC2086  # options are several
        "$ENGINE" build ${BUILD_OPTIONS:-} --build-arg DEVICE="$DEVICE" --build-arg MODELSIZE="$MODELSIZE" \
            -t "$IMAGE" -f deploy/train.Dockerfile .
        ;;
    train)
        text=$(realpath "$2") out=$(realpath -m "$3")
        shift 3
        mkdir -p "$out"
        gpus=
        [ "$DEVICE" = cpu ] || gpus="--gpus all --shm-size 1g --ulimit memlock=-1 --ulimit stack=67108864"
        # shellcheck disable=SC2086
        "$ENGINE" run --rm --init $gpus ${RUN_OPTIONS:-} --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
            --user "$(id -u):$(id -g)" -v "$text:/corpus.txt:ro" -v "$out:/checkpoint" "$IMAGE" "$@"
        ;;
    *) echo "Say build, or train TEXT FOLDER." >&2; exit 2 ;;
esac
