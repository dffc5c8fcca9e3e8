"""CycleGAN: translate pictures between two domains without a single pair to learn from.

Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks" (ICCV
2017). docs/style.md says how to use it.
"""
