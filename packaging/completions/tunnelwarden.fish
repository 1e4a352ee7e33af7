# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_tunnelwarden_global_optspecs
    string join \n h/help V/version
end

function __fish_tunnelwarden_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_tunnelwarden_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_tunnelwarden_using_subcommand
    set -l cmd (__fish_tunnelwarden_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -s V -l version -d 'Print version'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "run" -d 'Run the daemon (systemd does this)'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "status" -d 'Show every tunnel: verdict, names, connector, holds, incident'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "explain" -d 'Say in one sentence what is wrong, with proof, what holds a remedy back, and until when'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "incidents" -d 'List what happened, or draw the timeline of one incident'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "pause" -d 'Restart nothing for a while; go on watching and reporting'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "resume" -d 'End the pause'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "restart" -d 'Restart a tunnel\'s unit through the rails, and follow it up as an incident'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "causes" -d 'Print what can be concluded, what is done about it, and what can hold that back'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "replay" -d 'Judge a recorded incident, or this host\'s own past, and say what would have been done'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "diagnose" -d 'Look at everything once, say what is wrong with its proof, whether a restart can help, and what to do'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "tunnel" -d 'Show what Cloudflare\'s records say of a tunnel: status, connectors, which of them is this host'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "verify" -d 'Look at public names as visitors do: DNS, HTTP/2, status, cache, certificate; and at their records'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "audit" -d 'Check what makes outages before it makes one'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "route" -d 'Say which ingress rule a URL meets, and why'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "config" -d 'Check, show or derive configuration'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c tunnelwarden -n "__fish_tunnelwarden_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand run" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand status" -l address -d 'Ask the daemon that listens here in place of the one on the system bus' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand status" -l json -d 'Print JSON'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand status" -l watch -d 'Show it anew every two seconds, until interrupted'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand status" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand explain" -l address -d 'Ask the daemon that listens here in place of the one on the system bus' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand explain" -l json -d 'Print JSON'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand explain" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand incidents" -l log -d 'Read this log' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand incidents" -l json -d 'Print JSON'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand incidents" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand pause" -l for -d 'How long, for example 30m or 2h; at most 720h' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand pause" -l reason -d 'Why, in one line; it goes into the journal, and is shown where a remedy is held' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand pause" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand resume" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand restart" -l reason -d 'Why, in one line; it goes into the journal and the incident' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand restart" -l force -d 'Past cooldown and budget; everything else still holds, and the restart is paid for all the same'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand restart" -l follow -d 'Show the unit\'s journal, its last 200 lines first, until it is known whether the restart cured'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand restart" -l json -d 'With --follow: one JSON object a line, the outcome last'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand restart" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand causes" -l json -d 'As JSON'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand causes" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand replay" -l recording -d 'A folder with `journal.export` and `observed.tsv`' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand replay" -l since -d 'This host\'s own journal, from a time (`2026-11-01`, `2026-11-01T03:00:00Z`) or for a span before now (`30d`, `12h`)' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand replay" -l unit -d 'The unit whose journal is read with `--since`; `.service` may be left out' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand replay" -l json -d 'One JSON object a line, last a summary'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand replay" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand diagnose" -l for -d 'Go on looking until the verdict stands, for so long at most: 2m, say, or 10m. Some causes only time can prove [default: two looks, under 15 s]' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand diagnose" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand diagnose" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand diagnose" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand tunnel" -l account -d 'The account that holds it [default: the one that does, of all that the credentials reach]' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand tunnel" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand tunnel" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand tunnel" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand verify" -l ask-token -d 'Ask for an API token without echo, to look at the DNS records themselves'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand verify" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand verify" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand verify" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and not __fish_seen_subcommand_from credentials unit workflow ingress help" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and not __fish_seen_subcommand_from credentials unit workflow ingress help" -f -a "credentials" -d 'Check what the tunnels of this host prove themselves with, and who else can read it'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and not __fish_seen_subcommand_from credentials unit workflow ingress help" -f -a "unit" -d 'Check the unit that runs cloudflared against what cloudflared needs'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and not __fish_seen_subcommand_from credentials unit workflow ingress help" -f -a "workflow" -d 'Check workflows of GitHub Actions that put a tunnel\'s secret somewhere'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and not __fish_seen_subcommand_from credentials unit workflow ingress help" -f -a "ingress" -d 'Check a tunnel\'s ingress rules, and compare them with a checklist'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and not __fish_seen_subcommand_from credentials unit workflow ingress help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from credentials" -l cloudflared-version -d 'The version of cloudflared to give advice for' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from credentials" -l systemd-version -d 'The major version of systemd to give advice for' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from credentials" -l ask-token -d 'Ask for an API token without echo, to compare the DNS records and to see when the token ends'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from credentials" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from credentials" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from credentials" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from unit" -l cloudflared-version -d 'The version of cloudflared to give advice for' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from unit" -l systemd-version -d 'The major version of systemd to give advice for' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from unit" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from unit" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from unit" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from workflow" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from workflow" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from workflow" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from ingress" -l expect -d 'A checklist: TOML with [[expect]], each with hostname, path and service [default: [[tunnel.expect]] of the configuration]' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from ingress" -l tunnel -d 'The tunnel: its configured name or its unit [default: the only one]' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from ingress" -l root -d 'Look for our own configuration below this directory instead of /' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from ingress" -l offline -d 'Leave the services behind the rules alone'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from ingress" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from ingress" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from ingress" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "credentials" -d 'Check what the tunnels of this host prove themselves with, and who else can read it'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "unit" -d 'Check the unit that runs cloudflared against what cloudflared needs'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "workflow" -d 'Check workflows of GitHub Actions that put a tunnel\'s secret somewhere'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "ingress" -d 'Check a tunnel\'s ingress rules, and compare them with a checklist'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand route" -l config -d 'A config.yml, or a manifest with a ConfigMap that holds one; - reads standard input [default: what the tunnel on this host runs with]' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand route" -l tunnel -d 'The tunnel: its configured name or its unit [default: the only one]' -r
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand route" -l root -d 'Look for our own configuration below this directory instead of /' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand route" -l json -d 'One JSON object'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand route" -l markdown -d 'Markdown, to paste into a ticket'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand route" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and not __fish_seen_subcommand_from check show polkit help" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and not __fish_seen_subcommand_from check show polkit help" -f -a "check" -d 'Read the configuration and name every mistake by file and line'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and not __fish_seen_subcommand_from check show polkit help" -f -a "show" -d 'Print the settings in force, defaults included, secrets hidden'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and not __fish_seen_subcommand_from check show polkit help" -f -a "polkit" -d 'Print the polkit rule that the units need'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and not __fish_seen_subcommand_from check show polkit help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from check" -l root -d 'Look below this directory instead of /' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from show" -l root -d 'Look below this directory instead of /' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from polkit" -l root -d 'Look below this directory instead of /' -r -F
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from polkit" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Read the configuration and name every mistake by file and line'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print the settings in force, defaults included, secrets hidden'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "polkit" -d 'Print the polkit rule that the units need'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand completions" -s h -l help -d 'Print help'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "run" -d 'Run the daemon (systemd does this)'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "status" -d 'Show every tunnel: verdict, names, connector, holds, incident'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "explain" -d 'Say in one sentence what is wrong, with proof, what holds a remedy back, and until when'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "incidents" -d 'List what happened, or draw the timeline of one incident'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "pause" -d 'Restart nothing for a while; go on watching and reporting'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "resume" -d 'End the pause'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "restart" -d 'Restart a tunnel\'s unit through the rails, and follow it up as an incident'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "causes" -d 'Print what can be concluded, what is done about it, and what can hold that back'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "replay" -d 'Judge a recorded incident, or this host\'s own past, and say what would have been done'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "diagnose" -d 'Look at everything once, say what is wrong with its proof, whether a restart can help, and what to do'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "tunnel" -d 'Show what Cloudflare\'s records say of a tunnel: status, connectors, which of them is this host'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "verify" -d 'Look at public names as visitors do: DNS, HTTP/2, status, cache, certificate; and at their records'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "audit" -d 'Check what makes outages before it makes one'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "route" -d 'Say which ingress rule a URL meets, and why'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "config" -d 'Check, show or derive configuration'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "completions" -d 'Print completions for a shell'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and not __fish_seen_subcommand_from run status explain incidents pause resume restart causes replay diagnose tunnel verify audit route config completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "credentials" -d 'Check what the tunnels of this host prove themselves with, and who else can read it'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "unit" -d 'Check the unit that runs cloudflared against what cloudflared needs'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "workflow" -d 'Check workflows of GitHub Actions that put a tunnel\'s secret somewhere'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "ingress" -d 'Check a tunnel\'s ingress rules, and compare them with a checklist'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Read the configuration and name every mistake by file and line'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print the settings in force, defaults included, secrets hidden'
complete -c tunnelwarden -n "__fish_tunnelwarden_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "polkit" -d 'Print the polkit rule that the units need'
