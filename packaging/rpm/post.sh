# $1: how many versions are installed now; 1 = first installation.
journalctl --update-catalog >/dev/null 2>&1 || :
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    # The bus looks up the user that its policy names once, when it reads the policy: now, before the service starts.
    busctl -q call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig || :
fi
if [ "$1" -eq 1 ]; then
    systemctl preset tunnelwarden.service >/dev/null 2>&1 || :
    if [ -d /run/systemd/system ] && systemctl is-enabled --quiet tunnelwarden.service; then
        systemctl start tunnelwarden.service || :
    fi
elif [ -d /run/systemd/system ]; then
    systemctl try-restart tunnelwarden.service || :
fi
exit 0
