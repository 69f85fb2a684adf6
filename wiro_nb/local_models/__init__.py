"""Models whose weights run on this machine: which repositories they need, and where their files are.

Data and files only; torch and diffusers belong to the service that generates. `catalog` names repositories and
licences, `weights` finds and downloads their files, `doctor` says what this machine can run.
"""
