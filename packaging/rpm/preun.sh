# $1: how many versions stay; 0 = the last one goes.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl disable --now --quiet tunnelwarden.service || :
elif [ "$1" -eq 0 ]; then
    systemctl disable --quiet tunnelwarden.service || :
fi
exit 0
