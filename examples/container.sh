#!/bin/sh
# Train from a text file in a container and write a checkpoint folder. ENGINE: docker or podman. Two commands:
#     sh examples/container.sh build               # reads MODELSIZE=124M and DEVICE=gpu from the environment
#     sh examples/container.sh train corpus.txt checkpoint [OPTION OF textmill train...]
# Type the second again to resume a stopped training. The folder then has model/, logs/ and checkpoints/.
set -eu
ENGINE=${ENGINE:-docker} DEVICE=${DEVICE:-cpu} MODELSIZE=${MODELSIZE:-scratch} IMAGE=${IMAGE:-textmill-train}
case ${1:-} in
    build)
        cd "$(dirname "$0")/.."
        # shellcheck disable=SC2086  # it may hold several options
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
