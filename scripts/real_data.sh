#!/usr/bin/env bash
# The recipes on real data with a few steps each: that all of it works, not how well. Needs AMENABLE_DATA_MIRROR.
set -euo pipefail
cd "$(dirname "$0")/.."
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
for recipe in reviews harmless storybook sentiment starter assistant; do
  echo "== recipes/$recipe.py --quick"
  .venv/bin/python "recipes/$recipe.py" --workspace "$workspace" --quick
done
