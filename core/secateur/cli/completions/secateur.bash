# bash: source <(secateur completion bash)
_secateur() {
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <(secateur completion bash --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    # A flag that ends in = goes on.
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o default -F _secateur secateur
