# $1: how many versions stay. State and the user stay too, as is usual with rpm.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
if [ "$1" -eq 0 ]; then
    journalctl --update-catalog >/dev/null 2>&1 || :
fi
exit 0
