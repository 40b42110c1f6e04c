// The admin listener's answers and the agents' figures, made up. A development aid.
export function admin() { return null }
export function agents() { return null }
