-- name: pause
select secateur.pause($1, $2, $3, $4)

-- name: resume
select secateur.resume($1, $2, $3, $4)

-- name: forget
select secateur.forget($1, $2, $3, $4)
