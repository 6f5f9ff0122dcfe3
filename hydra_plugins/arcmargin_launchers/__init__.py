"""Where Hydra looks for plugins; hydra_plugins is a namespace that packages share."""

from arcmargin.sweeps import launcher, ray_launcher, submitit_launcher


class ProcessLauncher(launcher.ProcessLauncher):
    pass


class RayLauncher(ray_launcher.RayLauncher):
    pass


class LocalLauncher(submitit_launcher.LocalLauncher):
    pass


class SlurmLauncher(submitit_launcher.SlurmLauncher):
    pass
