"""Running cells on a Slurm cluster: what is asked of it (`spec`), its jobs (`slurm`), and the loop that submits and waits (`execute`)."""
