"""HTTP in front of `Fabric`: routes, wire types, errors as people's clients expect them."""
