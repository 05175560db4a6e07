#!/bin/sh
# The environments of the libraries that benchmarks/training.py measures ours against, whole and pinned:
# .rivals/tensorflow and .rivals/torch.
set -eu
cd "$(dirname "$0")/../.."
for name in tensorflow torch; do
    there=.rivals/$name
    wanted=benchmarks/rivals/$name.txt
    cmp -s "$wanted" "$there/installed.txt" && continue
    rm -rf "$there"
    "${PYTHON:-python3}" -m venv "$there"
    pip="$there/bin/python -m pip install --quiet --disable-pip-version-check --no-deps"
    if [ $name = torch ]; then # alone, for TORCH_INDEX may name an index that has nothing else
        $pip "$(grep '^torch==' "$wanted")" ${TORCH_INDEX:-}
    fi
    $pip -r "$wanted"
    cp "$wanted" "$there/installed.txt"
    echo "$there: ready"
done
