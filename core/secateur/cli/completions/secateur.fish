# fish: secateur completion fish | source
function __secateur_candidates
    set -l found (secateur completion fish --line (commandline -cp | string collect) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c secateur -f -a '(__secateur_candidates)'
