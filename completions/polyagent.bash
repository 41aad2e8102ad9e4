# bash completion for polyagent
_polyagent() {
    local current=${COMP_WORDS[COMP_CWORD]}
    local shared="--dir --env --stdin --memory --timeout --cpu-time --fuel --output-limit --max-module
        --deterministic --no-clock --no-random --stats --trace --local --raw --help"
    if [[ $COMP_CWORD -eq 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "run python js ruby build repl tool serve submit mcp interpreter module doctor bench cache --help --version" -- "$current")
        return
    fi
    case "${COMP_WORDS[1]}$current" in
    run-*) mapfile -t COMPREPLY < <(compgen -W "$shared --invoke --profile --coredump" -- "$current") ;;
    python-*) mapfile -t COMPREPLY < <(compgen -W "$shared --python --packages -c" -- "$current") ;;
    ruby-*) mapfile -t COMPREPLY < <(compgen -W "$shared --ruby -c" -- "$current") ;;
    js-*) mapfile -t COMPREPLY < <(compgen -W "$shared --js -c" -- "$current") ;;
    tool*) mapfile -t COMPREPLY < <(compgen -W "code_executor python_wasi_runner python_compile javascript_wasi_runner ruby_wasi_runner --list --local --server --help" \
        -- "$current") ;;
    serve-*) mapfile -t COMPREPLY < <(compgen -W "--config --print-config --http --grpc --socket --max-running
        --max-queued --spare --memory --drain --help" -- "$current") ;;
    submit-*) mapfile -t COMPREPLY < <(compgen -W "--server --json --help" -- "$current") ;;
    mcp-*) mapfile -t COMPREPLY < <(compgen -W "--config --local --help" -- "$current") ;;
    build-*) mapfile -t COMPREPLY < <(compgen -W "-o --help" -- "$current") ;;
    repl-*) mapfile -t COMPREPLY < <(compgen -W "--language --packages --timeout --local --raw --help" -- "$current") ;;
    interpreter*) mapfile -t COMPREPLY < <(compgen -W "list add remove warm --json --manifest --language --from --wheel
        --preload --memory --help" -- "$current") ;;
    module*) mapfile -t COMPREPLY < <(compgen -W "list push pull inspect remove --help" -- "$current") ;;
    bench-*) mapfile -t COMPREPLY < <(compgen -W "-c --runs --warmup --concurrency --spare --cold
        --server --json --no-histogram --help" -- "$current") ;;
    cache*) mapfile -t COMPREPLY < <(compgen -W "list verify clear --help" -- "$current") ;;
    doctor*) mapfile -t COMPREPLY < <(compgen -W "--help" -- "$current") ;;
    *) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    esac
}
complete -o filenames -F _polyagent polyagent
