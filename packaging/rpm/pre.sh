# The user must be there before the files are. A transaction may bring systemd itself: then rpm makes the user from sysusers.d.
if [ -x /usr/bin/systemd-sysusers ]; then
    systemd-sysusers --replace=/usr/lib/sysusers.d/tunnelwarden.conf - <<'EOF' || :
g tunnelwarden -
u tunnelwarden - "Watchdog for Cloudflare tunnels" /var/lib/tunnelwarden
g tunnelwarden-admin -
EOF
fi
exit 0
