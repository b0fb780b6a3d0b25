"""Image reading, SAR scaling, dataset facts and readers, manifests, splits, the decoded cache. Importing this imports
no torch.
"""
