# fish completion for polyagent
complete -c polyagent -n __fish_use_subcommand -xa 'run python cache'
complete -c polyagent -n '__fish_seen_subcommand_from cache' -xa 'list verify clear'
for option in dir env stdin memory timeout cpu-time fuel output-limit max-module
    complete -c polyagent -n '__fish_seen_subcommand_from run python' -l $option -r
end
for option in deterministic no-clock no-random stats trace help
    complete -c polyagent -n '__fish_seen_subcommand_from run python' -l $option
end
for option in invoke profile coredump
    complete -c polyagent -n '__fish_seen_subcommand_from run' -l $option -r
end
complete -c polyagent -n '__fish_seen_subcommand_from python' -l python -r
