#!/usr/bin/bash
#
# zoneinit reads this at the first boot of a machine of the image; all files beside it that end
# with .sh, in the order of their names. `log` is zoneinit's.

# shellcheck disable=SC2148
log "setting up @name@"
