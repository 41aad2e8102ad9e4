# fish completion for polyagent
complete -c polyagent -n __fish_use_subcommand -xa 'run python js ruby build repl tool serve submit mcp interpreter module doctor bench cache'
complete -c polyagent -n '__fish_seen_subcommand_from cache' -xa 'list verify clear'
for option in dir env stdin memory timeout cpu-time fuel output-limit max-module
    complete -c polyagent -n '__fish_seen_subcommand_from run python js ruby' -l $option -r
end
for option in deterministic no-clock no-random stats trace local raw help
    complete -c polyagent -n '__fish_seen_subcommand_from run python js ruby' -l $option
end
for option in invoke profile coredump
    complete -c polyagent -n '__fish_seen_subcommand_from run' -l $option -r
end
complete -c polyagent -n '__fish_seen_subcommand_from python' -l python -r
complete -c polyagent -n '__fish_seen_subcommand_from js' -l js -r
complete -c polyagent -n '__fish_seen_subcommand_from ruby' -l ruby -r
complete -c polyagent -n '__fish_seen_subcommand_from python repl' -l packages -r
complete -c polyagent -n '__fish_seen_subcommand_from repl' -l timeout -r
complete -c polyagent -n '__fish_seen_subcommand_from repl' -l local
complete -c polyagent -n '__fish_seen_subcommand_from repl' -l raw
complete -c polyagent -n '__fish_seen_subcommand_from interpreter' -xa 'list add remove warm'
complete -c polyagent -n '__fish_seen_subcommand_from interpreter' -l json
complete -c polyagent -n '__fish_seen_subcommand_from repl interpreter' -l language -xa 'python javascript ruby'
for option in manifest from wheel preload memory
    complete -c polyagent -n '__fish_seen_subcommand_from interpreter' -l $option -r
end
complete -c polyagent -n '__fish_seen_subcommand_from tool' -xa 'code_executor python_wasi_runner javascript_wasi_runner ruby_wasi_runner'
for option in list local help
    complete -c polyagent -n '__fish_seen_subcommand_from tool' -l $option
end
for option in config http grpc socket max-running max-queued spare memory drain
    complete -c polyagent -n '__fish_seen_subcommand_from serve' -l $option -r
end
complete -c polyagent -n '__fish_seen_subcommand_from serve' -l print-config
complete -c polyagent -n '__fish_seen_subcommand_from tool submit bench' -l server -r
complete -c polyagent -n '__fish_seen_subcommand_from submit' -l json
complete -c polyagent -n '__fish_seen_subcommand_from mcp' -l config -r
complete -c polyagent -n '__fish_seen_subcommand_from mcp' -l local
complete -c polyagent -n '__fish_seen_subcommand_from module' -xa 'list push pull inspect remove'
for option in runs warmup concurrency spare
    complete -c polyagent -n '__fish_seen_subcommand_from bench' -l $option -r
end
for option in cold json no-histogram
    complete -c polyagent -n '__fish_seen_subcommand_from bench' -l $option
end
complete -c polyagent -n '__fish_seen_subcommand_from serve submit mcp repl interpreter module bench doctor' -l help
