# shellcheck shell=sh
# Says whether the zone is up: run in it, again and again, until it says so. The last line counts.
if [ -e /var/svc/provisioning ]; then
	echo "it is provisioning (/var/svc/provisioning)"
elif [ -x /usr/bin/svcs ] && [ ! -e /native/usr/bin/svcs ]; then
	milestone=$(/usr/bin/svcs -H -o state svc:/milestone/multi-user-server:default 2>&1)
	zoneinit=$(/usr/bin/svcs -H -o state zoneinit 2>/dev/null)
	if [ "$milestone" != online ]; then
		echo "multi-user-server is $milestone"
	else
		# At the end of its first run zoneinit starts the zone anew.
		case $zoneinit in
			"" | disabled) echo "up" ;;
			online | legacy_run) echo "up, with zoneinit" ;;
			*) echo "zoneinit is $zoneinit" ;;
		esac
	fi
elif [ -d /run/systemd/system ] && command -v systemctl > /dev/null; then
	state=$(systemctl is-system-running 2>/dev/null)
	case $state in
		running | degraded) echo "up" ;;
		*) echo "systemd is ${state:-starting}" ;;
	esac
else
	echo "up"
fi
exit 0
