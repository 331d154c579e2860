#compdef secateur
# zsh: source <(secateur completion zsh), after compinit
_secateur() {
    local -a candidates
    candidates=("${(@f)$(secateur completion zsh --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${candidates[1]}" ]]; then
        _describe secateur candidates
    else
        _files
    fi
}
compdef _secateur secateur
