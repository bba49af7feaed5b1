# shellcheck shell=sh
# This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0.
# If a copy of the MPL was not distributed with this file, You can obtain one at https://mozilla.org/MPL/2.0/.
#
# Void's stage 1 reads this file into its own shell, so nothing here ends or changes that shell.

/usr/lib/mibe-guest/boot || :
