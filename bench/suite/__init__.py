"""From YAML to cells: the config, its validation, its expansion, the planned data of a cell."""
